/* vrtc.c - MC146818 clock; CMOS layout of the IBM AT for the bytes that software reads. */
#include "vmm/dev/vrtc.h"
#include "arch/string.h"
#include "vmm/dev/vtime.h"

enum vrtc_register {
    RTC_SECONDS = 0,
    RTC_SECONDS_ALARM = 1,
    RTC_MINUTES = 2,
    RTC_MINUTES_ALARM = 3,
    RTC_HOURS = 4,
    RTC_HOURS_ALARM = 5,
    RTC_WEEKDAY = 6,
    RTC_DAY = 7,
    RTC_MONTH = 8,
    RTC_YEAR = 9,
    RTC_A = 0xA,
    RTC_B = 0xB,
    RTC_C = 0xC,
    RTC_D = 0xD,
    CMOS_EQUIPMENT = 0x14,
    CMOS_BASE_KIB = 0x15,
    CMOS_EXTENDED_KIB = 0x17,
    CMOS_EXTENDED_KIB_2 = 0x30,
    RTC_CENTURY = 0x32, /* named in the FADT */
    CMOS_ABOVE_16M = 0x34,
    CMOS_ABOVE_4G = 0x5B,
};

#define A_UPDATING       0x80
#define A_DIVIDER_RUNS   0x20
#define A_RATE           0x0F
#define A_RATE_1024HZ    0x06
#define B_SET            0x80
#define B_PERIODIC       0x40
#define B_ALARM          0x20
#define B_UPDATE         0x10
#define B_BINARY         0x04
#define B_24_HOURS       0x02
#define B_INTERRUPTS     (B_PERIODIC | B_ALARM | B_UPDATE)
#define C_IRQ            0x80
#define D_VALID          0x80
#define HOURS_PM         0x80
#define ALARM_ANY        0xC0
#define INDEX_MASK       0x7F
#define UPDATE_HZ        4098ull /* UIP is on for 244 us before the second changes */
#define OSCILLATOR       32768ull
#define SECONDS_PER_DAY  86400ull
#define BASE_KIB         640
#define EXTENDED_KIB_MAX 0xFC00u /* 63 MiB */
#define CENTURY_MIN      1970

struct date {
    u32 year, month, day, weekday, hour, minute, second;
};

/* Days to civil date; proleptic Gregorian, counting years from March so that the leap day comes last. */
static struct date date_from_seconds(u64 seconds)
{
    struct date d;
    u64 days = seconds / SECONDS_PER_DAY;
    u32 rest = (u32)(seconds % SECONDS_PER_DAY);
    d.hour = rest / 3600;
    d.minute = rest / 60 % 60;
    d.second = rest % 60;
    d.weekday = (u32)((days + 4) % 7); /* 1 January 1970 was a Thursday */

    u64 z = days + 719468; /* days since 1 March of year 0 */
    u64 era = z / 146097;
    u32 day_of_era = (u32)(z % 146097);
    u32 year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    u32 day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    u32 month = (5 * day_of_year + 2) / 153; /* 0 = March */
    d.day = day_of_year - (153 * month + 2) / 5 + 1;
    d.month = month < 10 ? month + 3 : month - 9;
    d.year = (u32)(era * 400) + year_of_era + (d.month <= 2);
    return d;
}

static u64 seconds_from_date(const struct date *d)
{
    u32 year = d->year - (d->month <= 2);
    u32 era = year / 400, year_of_era = year % 400;
    u32 month = d->month > 2 ? d->month - 3 : d->month + 9;
    u32 day_of_year = (153 * month + 2) / 5 + d->day - 1;
    u64 day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    u64 days = era * 146097ull + day_of_era - 719468;
    return days * SECONDS_PER_DAY + d->hour * 3600 + d->minute * 60 + d->second;
}

/* ------------------------------------------------------------------ registers <-> numbers */

static u8 encode(const struct vrtc *r, u32 v)
{
    return (u8)(r->ram[RTC_B] & B_BINARY ? v : v / 10 << 4 | v % 10);
}
static u32 decode(const struct vrtc *r, u8 v)
{
    return r->ram[RTC_B] & B_BINARY ? v : (v >> 4) * 10u + (v & 15);
}
static u8 encode_hour(const struct vrtc *r, u32 hour)
{
    if (r->ram[RTC_B] & B_24_HOURS)
        return encode(r, hour);
    return encode(r, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOURS_PM : 0);
}
static u32 decode_hour(const struct vrtc *r, u8 v)
{
    if (r->ram[RTC_B] & B_24_HOURS)
        return decode(r, v);
    return decode(r, v & (u8)~HOURS_PM) % 12 + (v & HOURS_PM ? 12 : 0);
}

static bool is_time(u8 index)
{
    return index <= RTC_HOURS  ? !(index & 1)
           : index <= RTC_YEAR ? index != RTC_HOURS_ALARM
                               : index == RTC_CENTURY;
}

static void store_time(struct vrtc *r, u64 seconds)
{
    struct date d = date_from_seconds(seconds);
    r->ram[RTC_SECONDS] = encode(r, d.second);
    r->ram[RTC_MINUTES] = encode(r, d.minute);
    r->ram[RTC_HOURS] = encode_hour(r, d.hour);
    r->ram[RTC_WEEKDAY] = encode(r, d.weekday + 1);
    r->ram[RTC_DAY] = encode(r, d.day);
    r->ram[RTC_MONTH] = encode(r, d.month);
    r->ram[RTC_YEAR] = encode(r, d.year % 100);
    r->ram[RTC_CENTURY] = encode(r, d.year / 100);
}

/* The time registers as the guest set them; nonsense is brought into range so that it stays a date. */
static u64 load_time(const struct vrtc *r)
{
    struct date d = {
        .year = decode(r, r->ram[RTC_CENTURY]) * 100 + decode(r, r->ram[RTC_YEAR]),
        .month = decode(r, r->ram[RTC_MONTH]),
        .day = decode(r, r->ram[RTC_DAY]),
        .hour = decode_hour(r, r->ram[RTC_HOURS]) % 24,
        .minute = decode(r, r->ram[RTC_MINUTES]) % 60,
        .second = decode(r, r->ram[RTC_SECONDS]) % 60,
    };
    d.year = MAX(d.year, CENTURY_MIN);
    d.month = MIN(MAX(d.month, 1u), 12u);
    d.day = MIN(MAX(d.day, 1u), 31u);
    return seconds_from_date(&d);
}

static u64 seconds_now(const struct vrtc *r, u64 now)
{
    return r->seconds + vtime_since(now, r->tsc) / r->hz;
}

/* Host TSC at which `second` begins. */
static u64 second_start(const struct vrtc *r, u64 second)
{
    return r->tsc + (second - r->seconds) * r->hz;
}

static bool is_set_mode(const struct vrtc *r)
{
    return r->ram[RTC_B] & B_SET;
}

/* ------------------------------------------------------------------ interrupts */

static u64 periodic_hz(const struct vrtc *r)
{
    u32 rate = r->ram[RTC_A] & A_RATE;
    if (rate == 0)
        return 0;
    return OSCILLATOR >> ((rate <= 2 ? rate + 7 : rate) - 1); /* rates 1 and 2 are 256 and 128 Hz */
}

static bool alarm_matches(const struct vrtc *r, u64 second)
{
    struct date d = date_from_seconds(second);
    u8 s = r->ram[RTC_SECONDS_ALARM], m = r->ram[RTC_MINUTES_ALARM], h = r->ram[RTC_HOURS_ALARM];
    return (s >= ALARM_ANY || decode(r, s) == d.second) && (m >= ALARM_ANY || decode(r, m) == d.minute) &&
           (h >= ALARM_ANY || decode_hour(r, h) == d.hour);
}

static void raise(struct vrtc *r, u8 cause)
{
    r->ram[RTC_C] |= cause;
    if (r->ram[RTC_C] & r->ram[RTC_B] & B_INTERRUPTS)
        r->ram[RTC_C] |= C_IRQ;
}

bool vrtc_irq(const struct vrtc *r)
{
    return r->ram[RTC_C] & C_IRQ;
}

u64 vrtc_deadline(const struct vrtc *r, u64 now)
{
    u64 next = VTIME_NEVER;
    u8 b = r->ram[RTC_B];
    if ((b & B_PERIODIC) && periodic_hz(r))
        next = r->periodic_from + vtime_scale_up(r->periodic_done + 1, r->hz, periodic_hz(r));
    if ((b & (B_ALARM | B_UPDATE)) && !(b & B_SET))
        next = MIN(next, second_start(r, seconds_now(r, now) + 1));
    return next;
}

#define ALARM_LOOK_BACK 60 /* seconds; a VM that was not run for longer may miss an alarm */

void vrtc_advance(struct vrtc *r, u64 now)
{
    u64 rate = periodic_hz(r), second = seconds_now(r, now);
    u64 ticks = rate ? vtime_scale(vtime_since(now, r->periodic_from), rate, r->hz) : 0;
    if (ticks > r->periodic_done) {
        r->periodic_done = ticks;
        raise(r, B_PERIODIC);
    }
    if (is_set_mode(r) || second <= r->second_done)
        return;
    u64 from = MAX(r->second_done + 1, second > ALARM_LOOK_BACK ? second - ALARM_LOOK_BACK : 0);
    for (u64 s = from; s <= second; s++)
        if (alarm_matches(r, s)) {
            raise(r, B_ALARM);
            break;
        }
    r->second_done = second;
    raise(r, B_UPDATE);
}

/* ------------------------------------------------------------------ ports */

static void set_memory_size(struct vrtc *r, u64 memory)
{
    u64 above_1m = memory > MIB ? (memory - MIB) / KIB : 0;
    u64 low_top = MIN(memory, 3 * GIB);
    u64 above_16m = low_top > 16 * MIB ? (low_top - 16 * MIB) / (64 * KIB) : 0;
    u64 above_4g = memory > 3 * GIB ? (memory - 3 * GIB) / (64 * KIB) : 0;
    u16 extended = (u16)MIN(above_1m, EXTENDED_KIB_MAX);
    u16 kib64 = (u16)MIN(above_16m, 0xFFFFu);

    memcpy(&r->ram[CMOS_BASE_KIB], &(u16){BASE_KIB}, 2);
    memcpy(&r->ram[CMOS_EXTENDED_KIB], &extended, 2);
    memcpy(&r->ram[CMOS_EXTENDED_KIB_2], &extended, 2);
    memcpy(&r->ram[CMOS_ABOVE_16M], &kib64, 2);
    memcpy(&r->ram[CMOS_ABOVE_4G], &above_4g, 3);
}

void vrtc_reset(struct vrtc *r, u64 hz, u64 now, u64 seconds, u64 memory)
{
    memset(r, 0, sizeof *r);
    r->hz = hz;
    r->seconds = r->second_done = seconds;
    r->tsc = r->periodic_from = now;
    r->ram[RTC_A] = A_DIVIDER_RUNS | A_RATE_1024HZ;
    r->ram[RTC_B] = B_24_HOURS;
    r->ram[RTC_D] = D_VALID;
    set_memory_size(r, memory);
}

u8 vrtc_read(struct vrtc *r, u64 now, u16 port)
{
    if (!(port & 1))
        return 0xFF; /* the index cannot be read back */
    if (is_time(r->index) && !is_set_mode(r))
        store_time(r, seconds_now(r, now));
    u8 value = r->ram[r->index];
    if (r->index == RTC_A && !is_set_mode(r)) {
        u64 next = second_start(r, seconds_now(r, now) + 1);
        if (next - now <= r->hz / UPDATE_HZ)
            value |= A_UPDATING;
    } else if (r->index == RTC_C) {
        vrtc_advance(r, now);
        value = r->ram[RTC_C];
        r->ram[RTC_C] = 0;
    }
    return value;
}

static void write_b(struct vrtc *r, u64 now, u8 value)
{
    bool was_set = is_set_mode(r), old_format = (r->ram[RTC_B] ^ value) & (B_BINARY | B_24_HOURS);
    vrtc_advance(r, now);
    if (!was_set && ((value & B_SET) || old_format))
        store_time(r, seconds_now(r, now));
    r->ram[RTC_B] = value & B_SET ? value & (u8)~B_UPDATE : value; /* SET clears UIE, as in the chip */
    if (was_set && !(value & B_SET)) {                             /* the clock goes on from what was set */
        r->seconds = r->second_done = load_time(r);
        r->tsc = now;
    }
    raise(r, 0);
    if (!(r->ram[RTC_C] & r->ram[RTC_B] & B_INTERRUPTS))
        r->ram[RTC_C] &= (u8)~C_IRQ;
}

void vrtc_write(struct vrtc *r, u64 now, u16 port, u8 value)
{
    if (!(port & 1)) {
        r->index = value & INDEX_MASK; /* bit 7 masks NMI on a PC; there is none to mask */
        return;
    }
    switch (r->index) {
    case RTC_A:
        vrtc_advance(r, now);
        r->ram[RTC_A] = value & (u8)~A_UPDATING;
        r->periodic_from = now;
        r->periodic_done = 0;
        break;
    case RTC_B: write_b(r, now, value); break;
    case RTC_C:
    case RTC_D: break; /* read-only */
    default:
        if (is_time(r->index) && !is_set_mode(r)) { /* setting one register of the running clock */
            store_time(r, seconds_now(r, now));
            r->ram[r->index] = value;
            r->seconds = r->second_done = load_time(r);
            r->tsc = now;
        } else {
            r->ram[r->index] = value;
        }
        break;
    }
}
