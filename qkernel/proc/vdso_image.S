/* The vDSO's ELF file inside the kernel image, on pages of its own: they are mapped into programs as they are. */
	.section .rodata.vdso, "a"
	.globl vdso_image, vdso_image_end
	.balign 4096
vdso_image:
	.incbin "vdso.so"
vdso_image_end:
	.balign 4096
	.section .note.GNU-stack, "", @progbits
