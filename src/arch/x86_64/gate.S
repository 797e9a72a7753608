/* gate - where a caller arrives whose function is changing.
 *
 * The stack, from the caller's side down; the words are struct hp_gate_frame of arch.h:
 *
 *     return address    <- stack pointer on arrival
 *     rbp               <- rbp from here on
 *     rax rcx rdx rsi rdi r8 r9 r10      what may hold an argument (psABI section 3.2.3; r10: static chain)
 *     r15 r14 r13 r12 rbx                what unwinding needs
 *     vector and x87 state, 64-byte aligned
 *
 * The code lies in a section of its own, hp_gate_text, with hp_gate_arrive: a thread found in it may have chosen its
 * definition already, see transition.c. Before it leaves, it wipes the dead part of the stack that may hold return
 * addresses into this section, so that later scans do not take them for a thread at the gate.
 */
	.section hp_gate_text, "ax", @progbits

	.hidden hp_gate_enter, hp_gate_arrive, hp_gate_wait, hp_gate_calling, hp_gate_waiting
	.hidden hp_gate_save_kind, hp_gate_save_size, hp_gate_save_mask
	.globl hp_gate_enter, hp_gate_wait, hp_gate_calling, hp_gate_waiting

#define WIPE 768

	.type hp_gate_enter, @function
	.p2align 4
hp_gate_enter:
	.cfi_startproc
	endbr64
	pushq %rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbp, 0
	movq %rsp, %rbp
	.cfi_def_cfa_register %rbp
	pushq %rax
	pushq %rcx
	pushq %rdx
	pushq %rsi
	pushq %rdi
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r15
	pushq %r14
	pushq %r13
	pushq %r12
	pushq %rbx
	movq %r11, %rdi			/* the site */
	movq %rsp, %rsi			/* struct hp_gate_frame */
	movl hp_gate_save_size(%rip), %eax
	subq %rax, %rsp
	andq $-64, %rsp
	movl hp_gate_save_kind(%rip), %ecx
	movl hp_gate_save_mask(%rip), %eax
	xorl %edx, %edx
	testl %ecx, %ecx
	jz 1f
	/* XRSTOR wants a clean header (Intel SDM volume 1, section 13.8). */
	movq %rdx, 512(%rsp)
	movq %rdx, 520(%rsp)
	movq %rdx, 528(%rsp)
	movq %rdx, 536(%rsp)
	movq %rdx, 544(%rsp)
	movq %rdx, 552(%rsp)
	movq %rdx, 560(%rsp)
	movq %rdx, 568(%rsp)
	cmpl $2, %ecx
	je 2f
	xsave (%rsp)
	jmp 3f
1:	fxsave64 (%rsp)
	jmp 3f
2:	xsavec (%rsp)
3:	cld
	call hp_gate_arrive
	movq %rax, %r11			/* the definition to go on with */
	leaq -WIPE(%rsp), %rdi
	movl $(WIPE / 8), %ecx
	xorl %eax, %eax
	rep stosq
	movl hp_gate_save_kind(%rip), %ecx
	movl hp_gate_save_mask(%rip), %eax
	xorl %edx, %edx
	testl %ecx, %ecx
	jz 4f
	xrstor (%rsp)
	jmp 5f
4:	fxrstor64 (%rsp)
5:	leaq -104(%rbp), %rsp
	popq %rbx
	popq %r12
	popq %r13
	popq %r14
	popq %r15
	popq %r10
	popq %r9
	popq %r8
	popq %rdi
	popq %rsi
	popq %rdx
	popq %rcx
	popq %rax
	popq %rbp
	.cfi_def_cfa %rsp, 8
	.cfi_restore %rbp
	jmp *%r11
	.cfi_endproc
	.size hp_gate_enter, . - hp_gate_enter

	/* void hp_gate_wait(const uint32_t *word, uint32_t value, const struct hp_gate_frame *frame):
	   futex(word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, value), with frame where others find it */
	.type hp_gate_wait, @function
	.p2align 4
hp_gate_wait:
	.cfi_startproc
	endbr64
	pushq %rdx
	.cfi_adjust_cfa_offset 8
	movl %esi, %edx
	movl $128, %esi
	xorl %r10d, %r10d
	movl $202, %eax
hp_gate_calling:
	syscall
hp_gate_waiting:
	popq %rdx
	.cfi_adjust_cfa_offset -8
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
	endbr64
	movq %rbx, (%rdi)
	movq %rbp, 8(%rdi)
	movq %r12, 16(%rdi)
	movq %r13, 24(%rdi)
	movq %r14, 32(%rdi)
	movq %r15, 40(%rdi)
	leaq 8(%rsp), %rax
	movq %rax, 48(%rdi)
	movq (%rsp), %rax
	movq %rax, 56(%rdi)
	ret
	.cfi_endproc
	.size hp_arch_regs_save, . - hp_arch_regs_save

	/* What descriptors of thread-local variables of patches lead to, where each thread has its own place for them (Drepper
	   and Oliva, "Thread-Local Storage Descriptors for IA32 and AMD64/EM64T"): rax points to { this, &{ module, offset } },
	   and is to become the variable's distance from the thread pointer. No other register may change. */
	.hidden hp_arch_tls_descriptor
	.globl hp_arch_tls_descriptor
	.weak __tls_get_addr
	.type hp_arch_tls_descriptor, @function
	.p2align 4
hp_arch_tls_descriptor:
	.cfi_startproc
	endbr64
	pushq %rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbp, 0
	movq %rsp, %rbp
	.cfi_def_cfa_register %rbp
	pushq %rcx
	pushq %rdx
	pushq %rsi
	pushq %rdi
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	movq 8(%rax), %rdi
	movl hp_gate_save_size(%rip), %eax
	subq %rax, %rsp
	andq $-64, %rsp
	movl hp_gate_save_kind(%rip), %ecx
	movl hp_gate_save_mask(%rip), %eax
	xorl %edx, %edx
	testl %ecx, %ecx
	jz 1f
	movq %rdx, 512(%rsp)
	movq %rdx, 520(%rsp)
	movq %rdx, 528(%rsp)
	movq %rdx, 536(%rsp)
	movq %rdx, 544(%rsp)
	movq %rdx, 552(%rsp)
	movq %rdx, 560(%rsp)
	movq %rdx, 568(%rsp)
	cmpl $2, %ecx
	je 2f
	xsave (%rsp)
	jmp 3f
1:	fxsave64 (%rsp)
	jmp 3f
2:	xsavec (%rsp)
3:	cld
	call *__tls_get_addr@GOTPCREL(%rip)
	subq %fs:0, %rax
	movq %rax, %r11
	movl hp_gate_save_kind(%rip), %ecx
	movl hp_gate_save_mask(%rip), %eax
	xorl %edx, %edx
	testl %ecx, %ecx
	jz 4f
	xrstor (%rsp)
	jmp 5f
4:	fxrstor64 (%rsp)
5:	movq %r11, %rax
	leaq -64(%rbp), %rsp
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rdi
	popq %rsi
	popq %rdx
	popq %rcx
	popq %rbp
	.cfi_def_cfa %rsp, 8
	.cfi_restore %rbp
	ret
	.cfi_endproc
	.size hp_arch_tls_descriptor, . - hp_arch_tls_descriptor

	.section .note.GNU-stack, "", @progbits
