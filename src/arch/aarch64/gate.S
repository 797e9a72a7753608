/* gate - where a caller arrives whose function is changing.
 *
 * The stack, from the caller's side down; the words are struct hp_gate_frame of machine.h:
 *
 *                       <- stack pointer on arrival
 *     x30, x29          <- x29 from here on: a frame record
 *     x28 ... x19       what unwinding needs
 *     x18 ... x0        what may hold an argument (aapcs64 section 6.4; x8: the place of the result, x18: static chain)
 *     vector registers: all 32 of them, since a function with another convention (aarch64_vector_pcs, or arguments
 *     in SVE registers) may leave arguments in more of them than the base one, and have more of them kept. With SVE
 *     their whole length and the predicates, which a system call does not keep (kernel, Documentation/arch/arm64/sve.rst)
 *
 * The code lies in a section of its own, hp_gate_text, with hp_gate_arrive: a thread found in it may have chosen its
 * definition already, see transition.c. Before it leaves, it wipes the dead part of the stack that may hold return
 * addresses into this section, so that later scans do not take them for a thread at the gate.
 */
	.arch armv8-a+sve
	.section hp_gate_text, "ax", @progbits

	.hidden hp_gate_enter, hp_gate_arrive, hp_gate_wait, hp_gate_calling, hp_gate_waiting, hp_gate_save_sve
	.globl hp_gate_enter, hp_gate_wait, hp_gate_calling, hp_gate_waiting

#define BTI_C hint #34
#define FRAME 256	/* sizeof(struct hp_gate_frame) */
#define NEON 528	/* fpcr and fpsr, 32 registers of 16 bytes */
#define WIPE 1536

	.macro neon op
	\op q0, q1, [sp, #16]
	\op q2, q3, [sp, #48]
	\op q4, q5, [sp, #80]
	\op q6, q7, [sp, #112]
	\op q8, q9, [sp, #144]
	\op q10, q11, [sp, #176]
	\op q12, q13, [sp, #208]
	\op q14, q15, [sp, #240]
	\op q16, q17, [sp, #272]
	\op q18, q19, [sp, #304]
	\op q20, q21, [sp, #336]
	\op q22, q23, [sp, #368]
	\op q24, q25, [sp, #400]
	\op q26, q27, [sp, #432]
	\op q28, q29, [sp, #464]
	\op q30, q31, [sp, #496]
	.endm

	/* Predicates, an eighth of a vector each, in the lowest two vectors; fpcr and fpsr in the third. */
	.macro sve op
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	\op p\n, [sp, #\n, mul vl]
	.endr
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	\op z\n, [sp, #(3 + \n), mul vl]
	.endr
	.irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	\op z\n, [sp, #(3 + \n), mul vl]
	.endr
	.endm

	.type hp_gate_enter, @function
	.p2align 4
hp_gate_enter:
	.cfi_startproc
	BTI_C
	sub sp, sp, #FRAME
	.cfi_adjust_cfa_offset FRAME
	stp x29, x30, [sp, #240]
	.cfi_rel_offset x29, 240
	.cfi_rel_offset x30, 248
	add x29, sp, #240
	.cfi_def_cfa x29, 16
	stp x0, x1, [sp]
	stp x2, x3, [sp, #16]
	stp x4, x5, [sp, #32]
	stp x6, x7, [sp, #48]
	stp x8, x9, [sp, #64]
	stp x10, x11, [sp, #80]
	stp x12, x13, [sp, #96]
	stp x14, x15, [sp, #112]
	stp x16, x17, [sp, #128]
	stp x18, x19, [sp, #144]
	stp x20, x21, [sp, #160]
	stp x22, x23, [sp, #176]
	stp x24, x25, [sp, #192]
	stp x26, x27, [sp, #208]
	stp x28, xzr, [sp, #224]
	mov x0, x17			/* the site */
	mov x1, sp			/* struct hp_gate_frame */
	mrs x2, fpcr
	mrs x3, fpsr
	adrp x4, hp_gate_save_sve
	ldr w4, [x4, #:lo12:hp_gate_save_sve]
	cbnz w4, 1f
	sub sp, sp, #NEON
	neon stp
	stp x2, x3, [sp]
	b 2f
1:	addvl sp, sp, #-32
	addvl sp, sp, #-3
	sve str
	addvl x4, sp, #2
	stp x2, x3, [x4]
2:	bl hp_gate_arrive
	mov x16, x0			/* the definition to go on with */
	sub x0, sp, #WIPE
3:	stp xzr, xzr, [x0], #16
	cmp sp, x0
	b.hi 3b
	adrp x4, hp_gate_save_sve
	ldr w4, [x4, #:lo12:hp_gate_save_sve]
	cbnz w4, 4f
	neon ldp
	ldp x2, x3, [sp]
	b 5f
4:	sve ldr
	addvl x4, sp, #2
	ldp x2, x3, [x4]
5:	msr fpcr, x2
	msr fpsr, x3
	sub sp, x29, #240
	ldp x0, x1, [sp]
	ldp x2, x3, [sp, #16]
	ldp x4, x5, [sp, #32]
	ldp x6, x7, [sp, #48]
	ldp x8, x9, [sp, #64]
	ldp x10, x11, [sp, #80]
	ldp x12, x13, [sp, #96]
	ldp x14, x15, [sp, #112]
	ldr x18, [sp, #144]
	/* The others have been kept by what was called. */
	ldp x29, x30, [sp, #240]
	.cfi_restore x29
	.cfi_restore x30
	.cfi_def_cfa sp, FRAME
	add sp, sp, #FRAME
	.cfi_def_cfa_offset 0
	br x16
	.cfi_endproc
	.size hp_gate_enter, . - hp_gate_enter

	/* void hp_gate_wait(const uint32_t *word, uint32_t value, const struct hp_gate_frame *frame):
	   futex(word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, value), with frame where others find it */
	.type hp_gate_wait, @function
	.p2align 4
hp_gate_wait:
	.cfi_startproc
	BTI_C
	stp x2, x30, [sp, #-16]!
	.cfi_adjust_cfa_offset 16
	.cfi_rel_offset x30, 8
	mov w2, w1
	mov w1, #128
	mov x3, #0
	mov x8, #98
hp_gate_calling:
	svc #0
hp_gate_waiting:
	ldp x2, x30, [sp], #16
	.cfi_restore x30
	.cfi_adjust_cfa_offset -16
	ret
	.cfi_endproc
	.size hp_gate_wait, . - hp_gate_wait

	/* void hp_arch_regs_save(struct hp_saved_regs *): those of the caller that outlive a call, its stack pointer and
	   where it goes on */
	.text
	.hidden hp_arch_regs_save
	.globl hp_arch_regs_save
	.type hp_arch_regs_save, @function
	.p2align 4
hp_arch_regs_save:
	.cfi_startproc
	BTI_C
	stp x19, x20, [x0]
	stp x21, x22, [x0, #16]
	stp x23, x24, [x0, #32]
	stp x25, x26, [x0, #48]
	stp x27, x28, [x0, #64]
	mov x1, sp
	stp x29, x1, [x0, #80]
	str x30, [x0, #96]
	ret
	.cfi_endproc
	.size hp_arch_regs_save, . - hp_arch_regs_save

#if defined(__ARM_FEATURE_BTI_DEFAULT)
	/* All entries here begin with a landing pad: GNU_PROPERTY_AARCH64_FEATURE_1_AND, BTI (aaelf64 section 6.2). */
	.section .note.gnu.property, "a", @note
	.p2align 3
	.word 4, 16, 5
	.asciz "GNU"
	.word 0xc0000000, 4, 1, 0
#endif
	.section .note.GNU-stack, "", @progbits
