/*
 * console.h - guests' consoles and the keyboard, joined with the physical console (guest_console.h has the
 * rules).
 *
 *   ctrl-a 1..9   the keyboard goes to that VM          ctrl-a n   to the next VM
 *   ctrl-a s      statistics of that VM                 ctrl-a S   of all VMs
 *   ctrl-a p      presses that VM's power button        ctrl-a h   help
 *   ctrl-a ctrl-a a ctrl-a for the guest
 */
#pragma once
#include "vmm/vm.h"

/* Before the first VM is made. escape: control character 1..26. */
void vmm_console_init(u8 escape);
void vmm_console_add(struct vm *vm);
void vmm_console_select(u32 vm);

/* May the guest print so many bytes now? False while the physical line is behind: its device or call says
 * "later". */
bool must_check vmm_console_room(size_t bytes);
/* A byte the guest printed. */
void vmm_console_byte(struct vm *vm, u8 byte);
/* Shows an unfinished line of the VM: it has nothing more to say for now. */
void vmm_console_show(struct vm *vm);
/* Ends an unfinished line: the VM has ended. */
void vmm_console_finish(struct vm *vm);

/* Boot CPU, regularly: takes what has been typed. */
void vmm_console_poll(void);
/* The CPU of vCPU 0: moves what was typed for the VM into its UART. */
void vmm_console_give_input(struct vm *vm);
