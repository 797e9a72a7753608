/* arch - everything the runtime asks of an instruction set; one folder each implements it. Its numbers stand in
 * machine.h there, which includes nothing, so that every layer may include it; the build chooses the folder.
 *
 * Preconditions for all: code is little-endian memory of this process; `at` pointers may be copies of the code, and
 * the address that the code has is given beside them. Nothing here allocates, locks or touches errno, so all of it may
 * run in signal handlers and while callers are held.
 *
 * Vocabulary: the *entry* of a function is its address. Before it lies the *prefix*, bytes that nobody executes until
 * the entry jumps there; an instruction set whose jump reaches the site's landing has none. At or shortly behind the
 * entry lies the *jump*, no-operations until the function is redirected. The *body* begins behind the jump.
 *
 * machine.h defines, beside what stands further down:
 *
 *     HP_REG_COUNT, HP_REG_SP, HP_REG_IP   registers by their DWARF numbers, as many as unwinding needs
 *     HP_REG_RETURN                        the column that holds a frame's return address
 *     HP_RETURN_ON_STACK                   0: a function's return address is in a register until the function stores it
 *     hp_code_mask()                       the bits of a stored return address that are its address
 *     hp_arch_pause()                      tells the processor that the thread waits in a loop
 *     hp_arch_serialise()                  what the thread executes next is fetched anew
 *     hp_arch_pointer_guard()              how libc hides function pointers in memory
 */
#ifndef HP_ARCH_ARCH_H
#define HP_ARCH_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#include "base/cfi.h"
#include "base/inspector.h"
#include "machine.h"

/* -- Entries ----------------------------------------------------------------------------------------------------- */

enum {
	HP_ENTRY_BEFORE = 16, /* bytes before an entry that hp_arch_entry_read looks at */
	HP_ENTRY_AFTER = 16,  /* and behind it */
	HP_LANDING_SIZE = 4,  /* of the instruction that says where indirect branches may lead: endbr64, bti */
};

/* machine.h: HP_PREFIX_MAX and HP_JUMP_MAX, the longest there are. The head of a prepared entry's jump, its first
 * HP_JUMP_HEAD bytes, makes it a jump, and is written last and at once; the rest, its tail, does nothing alone.
 * HP_REACH: how far jump and prefix reach, bytes, both ways. HP_PREPARE_HINT: the compiler's option, for a message. */

/* How one entry is redirected: offsets from it, and the bytes before and after. */
struct hp_entry {
	int8_t prefix_at;   /* negative; where there is no prefix, that of the jump */
	uint8_t prefix_len; /* bytes; 0 where the jump leads to the landing itself */
	uint8_t jump_at, jump_len;
	uint8_t body_at;
	bool far;                          /* leads to the site's landing, not through its slot */
	bool guarded;                      /* an indirect jump to the body needs a landing of its own */
	bool unprepared;                   /* the jump is written over instructions, which are executed elsewhere */
	bool breakpoint;                   /* all of it: that takes a breakpoint meanwhile; else its first byte alone */
	uint8_t old_prefix[HP_PREFIX_MAX]; /* what is there now */
	uint8_t new_prefix[HP_PREFIX_MAX];
	uint8_t old_jump[HP_JUMP_MAX];
	uint8_t new_jump[HP_JUMP_MAX];
};

enum hp_entry_kind {
	HP_ENTRY_PREPARED,
	HP_ENTRY_UNPREPARED, /* no no-operations at the entry, or no room before it */
	HP_ENTRY_BREAKPOINT, /* a debugger's breakpoint stands at the entry */
};

/* Recognises a prepared entry that is not redirected: `before` are the n_before bytes in front of it that belong to no
 * function (at most HP_ENTRY_BEFORE), `at` the HP_ENTRY_AFTER bytes from it on. */
enum hp_entry_kind hp_arch_entry_read(const uint8_t *before, size_t n_before, const uint8_t *at,
                                      struct hp_entry *ret_entry);

/* How many bytes at an entry the tables for unwinding may leave out: `at` as above. */
size_t hp_arch_entry_gap(const uint8_t *at);

/* The plan for an entry that is not prepared: `at` as above. False where the instruction set has no such way. */
bool hp_arch_entry_over(const uint8_t *at, struct hp_entry *ret_entry);

/* Where the jump leads if only its first byte is written; 0 where that changes nothing. */
uintptr_t hp_arch_entry_pun(const struct hp_entry *plan, uintptr_t entry);

/* Whether the n bytes behind a function are what compilers and assemblers fill gaps with, the last instruction perhaps
 * in part: nobody's, and never written to. */
bool hp_arch_is_filling(const uint8_t *bytes, size_t n);

/* Fills what of new_prefix and new_jump depends on where the entry lies; false when slot or landing are out of its
 * reach. */
bool hp_arch_entry_aim(struct hp_entry *plan, uintptr_t entry, uintptr_t slot, uintptr_t landing);

/* If the code at `address` is a procedure linkage table stub, the address of the word it jumps through, else 0. `code`
 * are 16 bytes. */
uintptr_t hp_arch_plt_word(const uint8_t *code, uintptr_t address);

/* Whether the bytes just before `end` may be a call instruction: then `end` itself may be a return address of the
 * function that ends there. `before_end` points to the 8 bytes before `end`. */
bool hp_arch_may_end_in_call(const uint8_t *before_end);

/* Whether the function whose bytes are code[0..size) may continue elsewhere by a jump: false is a proof. */
bool hp_arch_may_jump_out(const uint8_t *code, size_t size);

/* -- Generated code: see near.h for the picture ------------------------------------------------------------------ */

/* machine.h, of a site's HP_CELL_CODE bytes:
 *
 *     HP_CELL_LANDING        jump through the slot
 *     HP_CELL_LANDING_READ   its one instruction that has the slot's word in a register, as an offset; 0: it has none
 *     HP_CELL_BODY, _END     jump to the original body, as an indirect jump may
 *     HP_CELL_STUB           hand the site to hp_gate_enter
 */

/* The words a cell's code uses, each the address of a variable. */
struct hp_cell_words {
	uintptr_t slot, body, site, gate;
};

void hp_arch_cell_fill(uint8_t *code, uintptr_t address, const struct hp_cell_words *words);

/* The instructions under a jump, executed elsewhere: followed by a jump back behind them. For an address in the copy
 * the map says where in the function the thread would be, so that it can be unwound. */
enum { HP_COPY_CODE = 96, HP_COPY_POINTS = HP_STEPS_MAX + 3 };

struct hp_copy_map {
	uint8_t n;
	struct hp_copy_point {
		uint8_t from;     /* bytes from the copy's beginning, up to the next point */
		bool at_entry;    /* a call is about to be made: the return address is on the stack already */
		uintptr_t origin; /* else: the instruction that is executed */
	} v[HP_COPY_POINTS];
};

/* `jump` is where the instructions came from, `bytes` what they were. False when a target is out of reach. */
bool hp_arch_copy_fill(uint8_t *code, uintptr_t address, uintptr_t jump, const uint8_t *bytes,
                       const struct hp_displaced *displaced, struct hp_copy_map *ret_map);

/* A landing far from its site: a jump through the slot. */
enum { HP_PUN_CODE = 16 };
void hp_arch_pun_fill(uint8_t *code, uintptr_t slot);

/* The breakpoint that makes way while a jump of several bytes is written: one byte, after which the thread takes
 * SIGTRAP with its instruction pointer behind it. */
extern const uint8_t hp_arch_breakpoint;
uintptr_t hp_arch_trap_address(const ucontext_t *context); /* of the breakpoint */
void hp_arch_trap_resume(ucontext_t *context, uintptr_t address);
/* Whether the thread's return addresses are kept twice, by the processor (CET shadow stacks). */
bool hp_arch_shadow_stack(void);

/* A closure's landing, HP_CLOSURE_CODE bytes, stores `context` in the thread-local at thread pointer + tls_offset and
 * jumps to `body`. */
void hp_arch_closure_fill(uint8_t *code, uintptr_t context, uintptr_t body, ptrdiff_t tls_offset);
ptrdiff_t hp_arch_tls_offset(const void *thread_local_variable);

/* -- Relocations of object files ----------------------------------------------------------------------------------
 *
 * What a relocation type asks to be written at the place it stands for. The letters are the psABI's (section 4.4.1): S
 * is the symbol, A the addend, P the place, G an entry of the global offset table, GOT its base, TP the thread pointer.
 */
enum hp_reloc_kind {
	HP_RELOC_NONE,
	HP_RELOC_ABSOLUTE,            /* S + A */
	HP_RELOC_RELATIVE,            /* S + A - P */
	HP_RELOC_CALL,                /* S + A - P, where S may be a landing that leads there */
	HP_RELOC_SIZE,                /* the symbol's size + A */
	HP_RELOC_GOT,                 /* G + A - P, where G holds S */
	HP_RELOC_GOT_OFFSET,          /* G + A - GOT */
	HP_RELOC_GOT_BASE,            /* GOT + A - P */
	HP_RELOC_FROM_GOT,            /* S + A - GOT */
	HP_RELOC_TLS_OFFSET,          /* S + A - TP */
	HP_RELOC_TLS_IN_MODULE,       /* S + A - the begin of its module's thread-local block */
	HP_RELOC_TLS_GOT_OFFSET,      /* G + A - P, where G holds S - TP */
	HP_RELOC_TLS_GOT_PAIR,        /* G + A - P, where G holds the module and the offset in it */
	HP_RELOC_TLS_GOT_MODULE,      /* G + A - P, where G holds the module and 0 */
	HP_RELOC_TLS_DESCRIPTOR,      /* the instruction is rewritten to load S - TP */
	HP_RELOC_TLS_DESCRIPTOR_CALL, /* the instruction is rewritten to do nothing */
};

enum hp_reloc_range {
	HP_RANGE_WRAPS,    /* takes the low bits, whatever is above */
	HP_RANGE_SIGNED,   /* sign extension gives the value back */
	HP_RANGE_UNSIGNED, /* zero extension does */
	HP_RANGE_EITHER,
};

struct hp_reloc_type {
	const char *name; /* NULL: no such type */
	uint8_t kind;     /* enum hp_reloc_kind */
	uint8_t size;     /* bytes that are written, 0 to 8 */
	uint8_t range;    /* enum hp_reloc_range */
};

/* NULL where the number is none, or one that no compiler puts into an object. */
const struct hp_reloc_type *hp_arch_reloc_type(uint32_t number);

/* Instructions that are rewritten in place. `at` is what the relocation stands for; n_before bytes before it belong to
 * the same section. false, and nothing written: the instruction is none of those that can be. */

/* A load, call or jump through G (HP_RELOC_GOT) becomes one that takes S itself: `relative` is S + A - P. */
bool hp_arch_relax_got(uint32_t number, uint8_t *at, size_t n_before, int64_t relative);
/* HP_RELOC_TLS_DESCRIPTOR and its call, n bytes from `at` on; `offset` is S - TP. */
bool hp_arch_relax_descriptor(uint8_t *at, size_t n_before, int64_t offset);
bool hp_arch_relax_descriptor_call(uint8_t *at, size_t n);

extern const uint16_t hp_arch_elf_machine; /* EM_ */

/* Code that jumps to the address held by the word at `slot`, in reach of `address`: how calls get to what is out of
 * theirs. */
enum { HP_FAR_CODE = 16 };
bool hp_arch_far_fill(uint8_t *code, uintptr_t address, uintptr_t slot);

/* -- The gate, in gate.S -------------------------------------------------------------------------------------------
 *
 * hp_gate_enter is where stubs jump to: everything is as the caller left it for the function, but for the scratch
 * register that holds the site. It saves every register that may hold an argument, calls hp_gate_arrive, restores them
 * and jumps where that says. machine.h has struct hp_gate_frame: what was saved for unwinding from there, and last
 * return_address, as the caller left it. The frame's end is the stack pointer at the function's entry, less what a call
 * pushes. */
extern void hp_gate_enter(void);
void hp_arch_gate_init(void); /* before the first gate closes */

/* futex(FUTEX_WAIT_PRIVATE) on word as the gate waits: a thread blocked in it has hp_gate_waiting as its instruction
 * pointer, one that was interrupted there by a signal hp_gate_calling, and `frame` lies at its stack pointer. */
void hp_gate_wait(const uint32_t *word, uint32_t value, const struct hp_gate_frame *frame);
extern const char hp_gate_calling[], hp_gate_waiting[];

/* -- Registers --------------------------------------------------------------------------------------------------- */

/* Of the caller whose frame lies at `address`; `frame` may be a copy of it. */
void hp_arch_regs_from_gate(const struct hp_gate_frame *frame, uintptr_t address, struct hp_regs *ret_regs);
/* Of the calling function itself, while it has not returned: saved by the first, understood by the second. */
void hp_arch_regs_save(struct hp_saved_regs *ret_saved);
void hp_arch_regs_from_saved(const struct hp_saved_regs *saved, struct hp_regs *ret_regs);

/* The code that a descriptor of a thread-local variable leads to; 0 where there is none. */
uintptr_t hp_arch_tls_code(void);

/* Clears those vector registers that a call may leave anything in: memcpy leaves what it has copied, which may be
 * addresses, and a thread that is created next inherits them. */
void hp_arch_vectors_clear(void);

void hp_arch_regs_from_signal(const ucontext_t *context, struct hp_regs *ret_regs);
void hp_arch_regs_from_pair(uintptr_t ip, uintptr_t sp, struct hp_regs *ret_regs); /* the others unknown */
/* The state of a function at its entry, before its first instruction. Steps out. */
bool hp_arch_regs_leave_entry(struct hp_regs *regs, hp_cfi_read read, void *arg);
/* If the frame is that of the code that handlers return to, steps to what the signal interrupted: false if not. */
bool hp_arch_regs_leave_signal(struct hp_regs *regs, hp_cfi_read read, void *arg);

/* Signal frames are found on a stack by a word that each of them has, the mark: restorer is where handlers return to
 * (0 if not known). HP_SIGFRAME_WORDS words, of which HP_SIGFRAME_BEFORE lie before the mark: whether they are of a
 * signal frame, as far as can be seen, and what was interrupted. */
uintptr_t hp_arch_signal_mark(uintptr_t restorer);
bool hp_arch_signal_frame(const uintptr_t words[HP_SIGFRAME_WORDS], uintptr_t *ret_ip, uintptr_t *ret_sp);

/* If the signal interrupted a blocking system call that the kernel will not restart, makes the thread execute it again
 * when the handler returns. What the kernel has overwritten (the number of the call, or its first argument) stands in
 * one of the instructions before it; where it does not, false. */
bool hp_arch_restart_syscall(ucontext_t *context);

/* -- A thread of another process, stopped (ptrace(2)) --------------------------------------------------------------
 *
 * Registers are what PTRACE_GETREGSET gives for NT_PRSTATUS. A call is made to end in a system call instruction, by
 * which the tracer sees that it has returned, and which is never executed. */
struct user_regs_struct;

enum { HP_ARCH_CALL_ARGS = 6 };

/* Has the thread call `function` on the stack that ends at stack_top; it returns to `syscall_at`, a system call
 * instruction, which is to be written at *ret_at first; 0: it need not be. */
void hp_arch_call_set(struct user_regs_struct *regs, uint64_t function, const uint64_t args[HP_ARCH_CALL_ARGS],
                      uint64_t stack_top, uint64_t syscall_at, uint64_t *ret_at);
/* Has it make a system call by that instruction. */
void hp_arch_syscall_set(struct user_regs_struct *regs, uint64_t number, const uint64_t args[HP_ARCH_CALL_ARGS],
                         uint64_t syscall_at);
/* What a call has returned, when the thread has come to the system call it returns to; what a system call has. */
uint64_t hp_arch_call_result(const struct user_regs_struct *regs);
int64_t hp_arch_syscall_result(const struct user_regs_struct *regs);
/* Whether the thread has entered that system call with the stack as the call leaves it. */
bool hp_arch_call_returned(const struct user_regs_struct *regs, uint64_t stack_top, uint64_t syscall_at);
/* Has the kernel not execute the system call the thread has entered. */
void hp_arch_syscall_skip(struct user_regs_struct *regs);
/* The system call that the stop interrupted, or -1. */
int64_t hp_arch_interrupted_syscall(const struct user_regs_struct *regs);
/* If that call was made to fail with EINTR, which the kernel would not restart, has the thread make it again. */
bool hp_arch_syscall_again(struct user_regs_struct *regs);
/* The offset of a system call instruction in code, or n: none. */
size_t hp_arch_find_syscall(const uint8_t *code, size_t n);

/* -- System calls without errno ---------------------------------------------------------------------------------- */

long hp_syscall(long number, long a, long b, long c, long d, long e, long f); /* -errno on failure */

#endif
