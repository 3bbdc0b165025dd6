/*
 * abi.h - what a guest and Patchbay say to each other. This is the whole contract: a guest needs no other
 * file.
 *
 * Plain C from C89 on, 32- and 64-bit, no dependency. All structures are little-endian and have the same
 * layout in every guest mode.
 *
 * How to call
 *   VMCALL at CPL 0 with the call number in rax and arguments in rbx, rcx, rdx, rsi (32-bit guests: eax
 *   and so on). The result, one of PB_STATUS_*, is in rax. Calls that return more say so; every other
 *   register is unchanged. An interrupt may be taken before VMCALL is complete only in the calls that wait;
 *   those then return PB_STATUS_INTERRUPTED and may be made again.
 *
 * Addresses
 *   Every address is guest-physical. A structure must lie in the guest's own RAM and be aligned to its own
 *   size, so it never crosses a page: otherwise PB_STATUS_BAD_ADDRESS. Patchbay reads a structure once; a guest
 *   that changes it meanwhile harms itself only.
 *
 * Finding Patchbay
 *   CPUID leaf 0x40000000 returns "PatchbayVMM\0" in ebx, ecx, edx and the highest leaf in eax;
 *   leaf 0x40000001 returns PB_ABI_VERSION in eax and the own VM id in ebx.
 */
#ifndef PATCHBAY_ABI_H
#define PATCHBAY_ABI_H

#ifdef __UINT64_TYPE__
typedef __UINT8_TYPE__ pb_u8;
typedef __UINT16_TYPE__ pb_u16;
typedef __UINT32_TYPE__ pb_u32;
__extension__ typedef __UINT64_TYPE__ pb_u64;
#else
typedef unsigned char pb_u8;
typedef unsigned short pb_u16;
typedef unsigned int pb_u32;
typedef unsigned long long pb_u64;
#endif

/* high 16 bits: incompatible changes; low 16 bits: additions */
#define PB_ABI_VERSION 0x00020000u

#define PB_CPUID_SIGNATURE 0x40000000u
#define PB_CPUID_FEATURES  0x40000001u

/* ---- calls (rax) --------------------------------------------------------------------------------------- */

/* rbx = gpa of a struct pb_info (128 bytes), filled in. */
#define PB_CALL_INFO 0x50420000u

/* rbx = gpa of a struct pb_name (32 bytes). Returns rbx = the VM's id, rcx = the PB_MODE_* bits this VM may
 * use towards it. PB_STATUS_NO_SUCH_VM when no VM has that name (a VM that was stopped still has one). */
#define PB_CALL_FIND 0x50420001u

/* rbx = gpa of a struct pb_message (64 bytes): receiver, kind, length, flags, page and data are read; sender
 * and sequence are Patchbay's to set and ignored. PB_STATUS_OK: the message is in the receiver's queue, and
 * if it carried a page the page has moved. Any other status: nothing has changed. The page operations and
 * what the sender keeps are described at PB_KIND_*. */
#define PB_CALL_SEND 0x50420002u

/* rbx = gpa of a struct pb_message to fill with the oldest message (0 when an inbox page is in use: the
 * message is then found there, and the call only waits), rcx = PB_RECEIVE_* flags, rdx = longest wait in
 * microseconds (0: no limit; only with PB_RECEIVE_BLOCK). PB_STATUS_EMPTY: nothing there and not asked to
 * wait. Messages arrive at vCPU 0: it alone may call this and PB_CALL_SETUP. */
#define PB_CALL_RECEIVE 0x50420003u

/* rbx = gpa of the inbox page (page-aligned own RAM; it cannot be sent away while it is the inbox), rcx =
 * interrupt vector (32..255, or 0 for none), rdx = PB_SETUP_* flags. The interrupt goes to vCPU 0's local
 * APIC each time messages were put into the inbox, once for all that came together, or, without inbox, when
 * there are messages in the queue. Calling again replaces everything; the new inbox starts empty, messages
 * still in the old one are the guest's to read. */
#define PB_CALL_SETUP 0x50420004u

/* Offer empty guest-physical pages as landing slots for incoming pages: rbx = first gpa, rcx = number of
 * pages. Slots are used in the order offered. Legal are pages of the landing window (struct pb_info) and
 * pages that were donated away, as long as they are empty. Returns rbx = how many were accepted, counting
 * from the first: fewer than asked with PB_STATUS_FULL (no room for more offers now) or PB_STATUS_SLOT_IN_USE
 * (the next one is not empty or is already offered). */
#define PB_CALL_OFFER 0x50420005u

/* Take back a page this VM shared or lent: rbx = its gpa here. On return the peer has no access any more and
 * gets a PB_KIND_REVOKED message if its queue has room. A page lent and taken back by force is zeroed. */
#define PB_CALL_RECLAIM 0x50420006u

/* Give back a page that was shared with or lent to this VM: rbx = its gpa here. The gpa is an empty slot
 * again and the owner gets a PB_KIND_RETURNED message if its queue has room. */
#define PB_CALL_RETURN 0x50420007u

/* Give the CPU to other vCPUs that are ready, if there are any. */
#define PB_CALL_YIELD 0x50420008u

/* rbx = gpa of text in own RAM, rcx = bytes (at most PB_CONSOLE_MAX; may cross pages). Printed with the VM's
 * prefix. Returns rbx = the bytes taken. */
#define PB_CALL_CONSOLE 0x50420009u

/* rbx = gpa of a struct pb_stats to fill (8-byte aligned), rcx = a vCPU of this VM, or PB_STATS_SELF for the
 * calling one, rdx = the bytes that there is room for: a multiple of 8 from PB_STATS_HEADER to 4096, within one
 * page. Returns rbx = the bytes written: the smaller of rdx and sizeof(struct pb_stats). Another vCPU is not
 * disturbed: its counters are read one by one while it counts. */
#define PB_CALL_STATS 0x5042000Au

#define PB_CALL_FIRST PB_CALL_INFO
#define PB_CALL_LAST  PB_CALL_STATS

/* ---- status (rax on return) ---------------------------------------------------------------------------- */

#define PB_STATUS_OK            0u
#define PB_STATUS_UNKNOWN_CALL  1u  /* no such call number */
#define PB_STATUS_NOT_KERNEL    2u  /* VMCALL from CPL 1-3 */
#define PB_STATUS_BAD_ADDRESS   3u  /* misaligned, not own RAM, or not accessible */
#define PB_STATUS_BAD_LENGTH    4u  /* length or count out of range */
#define PB_STATUS_BAD_KIND      5u  /* unknown message kind, or one only Patchbay sends */
#define PB_STATUS_BAD_FLAGS     6u  /* a reserved flag bit is set */
#define PB_STATUS_BAD_VECTOR    7u  /* interrupt vector below 32 or above 255 */
#define PB_STATUS_NO_SUCH_VM    8u  /* no VM has that id or name */
#define PB_STATUS_VM_DEAD       9u  /* the VM exists but has stopped */
#define PB_STATUS_SELF          10u /* receiver is the sender */
#define PB_STATUS_NO_CHANNEL    11u /* no channel to that VM is configured */
#define PB_STATUS_NOT_PERMITTED 12u /* the channel does not permit this mode */
#define PB_STATUS_QUEUE_FULL    13u /* receiver's queue, or this channel's depth, is used up: try again */
#define PB_STATUS_EMPTY         14u /* no message */
#define PB_STATUS_NO_LANDING    15u /* the receiver has offered no landing slot: try again */
#define PB_STATUS_BAD_PAGE      16u /* the page gpa is misaligned or not RAM of this VM */
#define PB_STATUS_PAGE_EMPTY    17u /* the page is not there any more (donated) or not yet (landing slot) */
#define PB_STATUS_PAGE_SHARED   18u /* the page is shared by this VM already */
#define PB_STATUS_PAGE_LENT     19u /* the page is lent out by this VM */
#define PB_STATUS_PAGE_FOREIGN  20u /* the page belongs to another VM (shared with or lent to this one) */
#define PB_STATUS_PAGE_BUSY     21u /* another vCPU is just moving this page, or it is the inbox: try again */
#define PB_STATUS_PAGE_NOT_OUT  22u /* reclaim or return of a page that is not shared or lent */
#define PB_STATUS_SLOT_IN_USE   23u /* offer: the page is not empty, or is offered already */
#define PB_STATUS_FULL          24u /* offer: no room for more offers */
#define PB_STATUS_TIMED_OUT     25u /* the longest wait is over */
#define PB_STATUS_INTERRUPTED   26u /* an interrupt ended the wait: call again */
#define PB_STATUS_NOT_READY     27u /* the call needs PB_CALL_SETUP, or a buffer address, first */
#define PB_STATUS_WRONG_VCPU    28u /* the call is for vCPU 0 alone */
#define PB_STATUS_NO_SUCH_VCPU  29u /* this VM has no vCPU of that number */
#define PB_STATUS_COUNT         30u

/* ---- messages ------------------------------------------------------------------------------------------ */

#define PB_INLINE_BYTES 32u

struct pb_message {
    pb_u32 sender;   /* VM id; set by Patchbay, cannot be forged */
    pb_u32 receiver; /* VM id */
    pb_u64 sequence; /* 1, 2, 3...: messages delivered from this sender to this receiver; set by Patchbay */
    pb_u16 kind;     /* PB_KIND_* */
    pb_u16 length;   /* bytes used in data, 0..PB_INLINE_BYTES; the rest arrives as zeroes */
    pb_u32 flags;    /* PB_FLAG_*; bits 16-31 are the sender's own and travel unchanged */
    pb_u64 page;     /* sent: gpa in the sender; received: gpa in the receiver; without page: 0 */
    pb_u8 data[PB_INLINE_BYTES];
};

/* kinds a guest may send */
#define PB_KIND_DATA     1u /* the inline bytes alone */
#define PB_KIND_SHARE_RO 2u /* both have the page; the receiver cannot write it */
#define PB_KIND_SHARE_RW 3u /* both have the page and may write it */
#define PB_KIND_LEND     4u /* the receiver alone has the page until it returns it */
#define PB_KIND_DONATE   5u /* the page is the receiver's for good; the sender's next access faults (#PF) */
/* kinds only Patchbay sends, on behalf of the peer named in sender */
#define PB_KIND_RETURNED 16u /* page: your page that came back */
#define PB_KIND_REVOKED  17u /* page: where the page was that its owner took back */
#define PB_KIND_STOPPED  18u /* that VM has stopped */
#define PB_KIND_ROOM     19u /* it has room again: see PB_FLAG_ROOM */

#define PB_FLAG_NOTIFY 1u /* send: make the receiver dequeue now, by an exit if it is running */
#define PB_FLAG_ROOM \
    2u /* send: if QUEUE_FULL or NO_LANDING, send PB_KIND_ROOM when it is worth another try */
#define PB_FLAG_VMM  0x0000FFFFu /* bits Patchbay defines; those not named above must be 0 */
#define PB_FLAG_USER 0xFFFF0000u

/* what a channel permits (configuration key "modes"; PB_CALL_FIND) */
#define PB_MODE_MESSAGE  0x01u
#define PB_MODE_SHARE_RO 0x02u
#define PB_MODE_SHARE_RW 0x04u
#define PB_MODE_LEND     0x08u
#define PB_MODE_DONATE   0x10u
#define PB_MODE_ALL      0x1Fu

#define PB_RECEIVE_BLOCK 1u /* wait for a message; without it: poll */
#define PB_SETUP_INBOX   1u /* rbx holds the inbox page; without it there is none */

#define PB_CONSOLE_MAX 1024u

/* ---- structures in guest memory ------------------------------------------------------------------------ */

struct pb_name {
    char text[32]; /* NUL-padded */
};

struct pb_info {
    pb_u32 abi_version; /* PB_ABI_VERSION */
    pb_u32 id;          /* this VM */
    struct pb_name name;
    pb_u64 window_gpa;   /* landing window: guest-physical pages above RAM, empty at start */
    pb_u32 window_pages; /* its size */
    pb_u32 queue_depth;  /* messages the queue of this vCPU holds */
    pb_u32 inbox_depth;  /* messages an inbox page holds (PB_INBOX_DEPTH) */
    pb_u32 vm_count;     /* VM ids are 0..vm_count-1 */
    pb_u64 tsc_hz;
    pb_u8 reserved[56]; /* zero */
};

/*
 * The inbox page: a ring the guest reads without an exit. Both indices run freely (mod 2^32); message i is in
 * message[i % PB_INBOX_DEPTH]. The inbox is empty when they are equal.
 *   guest:    while (read != write [acquire]) { use message[read % depth]; read++ [release]; }
 *   Patchbay: puts messages at write while write - read < depth; else they wait in the queue, and a full
 * queue turns senders away. A read index that runs ahead of write makes the inbox count as full.
 */
#define PB_INBOX_DEPTH 32u

struct pb_inbox {
    pb_u32 write; /* Patchbay's; the guest only reads it */
    pb_u8 pad0[60];
    pb_u32 read; /* the guest's */
    pb_u8 pad1[60];
    pb_u8 pad2[1920];
    struct pb_message message[PB_INBOX_DEPTH];
};

/*
 * What PB_CALL_STATS writes ("patchbay-stat layout", version 1): the counters of one vCPU since its VM was made.
 *
 *   offset     0  header     what is where: later versions may add counters, so use its offsets and numbers
 *             64  counter[]  PB_STAT_*: the table in ipc/README.md has the unit of each and when it counts
 *           1024  exits[]    exits by basic exit reason (Intel SDM Vol. 3D appendix C)
 *           2048  end
 *
 * A counter is never read half-written, but they are not all of one moment if that vCPU is running. With one
 * call by the vCPU itself they are: nothing of its own happens meanwhile, and the call is counted already.
 */
#define PB_STATS_MAGIC    0x54534250u /* "PBST" */
#define PB_STATS_VERSION  1u
#define PB_STATS_SELF     0xFFFFFFFFu
#define PB_STATS_HEADER   64u
#define PB_STATS_COUNTERS 120u /* room in counter[] */
#define PB_STATS_REASONS  128u /* room in exits[] */

struct pb_stats {
    pb_u32 magic;       /* PB_STATS_MAGIC */
    pb_u16 version;     /* PB_STATS_VERSION: another one is another layout */
    pb_u16 counters_at; /* offset of counter[] */
    pb_u16 exits_at;    /* offset of exits[] */
    pb_u16 counters;    /* counters there are; the rest of counter[] is zero */
    pb_u16 reasons;     /* exit reasons there are; the rest of exits[] is zero */
    pb_u16 bytes;       /* that were written; what lies behind is as it was */
    pb_u32 vm;          /* its id */
    pb_u32 vcpu;        /* whose counters these are */
    pb_u32 vcpus;       /* vCPUs of the VM */
    pb_u32 zero;
    pb_u64 tsc;    /* the calling vCPU's time stamp counter when they were read */
    pb_u64 tsc_hz; /* its speed */
    pb_u64 reserved[2];
    pb_u64 counter[PB_STATS_COUNTERS];
    pb_u64 exits[PB_STATS_REASONS];
};

/* counters: an index never changes its meaning, new ones are added at the end */
#define PB_STAT_EXITS         0u
#define PB_STAT_SENT          1u
#define PB_STAT_RECEIVED      2u
#define PB_STAT_REFUSED       3u
#define PB_STAT_PAGES_OUT     4u
#define PB_STAT_PAGES_IN      5u
#define PB_STAT_POSTED        6u
#define PB_STAT_ABSORBED      7u
#define PB_STAT_OVERFLOWS     8u
#define PB_STAT_DRAINED       9u
#define PB_STAT_APPLIED       10u
#define PB_STAT_INVALIDATED   11u
#define PB_STAT_REDERIVED     12u
#define PB_STAT_RESYNCS       13u
#define PB_STAT_FILLS         14u
#define PB_STAT_PREFILLS      15u
#define PB_STAT_KICKS         16u
#define PB_STAT_SHADOWS       17u
#define PB_STAT_RECLAIMED     18u
#define PB_STAT_NEIGHBOURS    19u
#define PB_STAT_UNUSED        20u
#define PB_STAT_GUEST_FAULTS  21u
#define PB_STAT_TRACED        22u
#define PB_STAT_DEVICE        23u
#define PB_STAT_EMULATED      24u
#define PB_STAT_FLUSHES       25u
#define PB_STAT_TRACES        26u
#define PB_STAT_UNTRACED      27u
#define PB_STAT_RETRACED      28u
#define PB_STAT_LOOSE         29u
#define PB_STAT_LOOSE_READS   30u
#define PB_STAT_LOOSE_CHANGED 31u
#define PB_STAT_MADE          32u
#define PB_STAT_ASKED         33u
#define PB_STAT_SERVED        34u
#define PB_STAT_NMIS          35u
#define PB_STAT_INTERRUPTS    36u
#define PB_STAT_AUDITS        37u
#define PB_STAT_FRAMES        38u
#define PB_STAT_CHANNELS      39u
#define PB_STAT_NMIS_SHADOW   40u
#define PB_STAT_COUNT         41u

/* compile-time layout checks that C89 understands */
typedef char pb_check_message[sizeof(struct pb_message) == 64 ? 1 : -1];
typedef char pb_check_name[sizeof(struct pb_name) == 32 ? 1 : -1];
typedef char pb_check_info[sizeof(struct pb_info) == 128 ? 1 : -1];
typedef char pb_check_stats[sizeof(struct pb_stats) == 2048 ? 1 : -1];
typedef char pb_check_inbox[sizeof(struct pb_inbox) == 4096 ? 1 : -1];

#endif
