/* The library of reseed/reseed.c inside the kernel image; fs/reseed.c shows it as a file. */
	.section .rodata.reseed, "a"
	.globl reseed_image, reseed_image_end
	.balign 8
reseed_image:
	.incbin "quark-reseed.so"
reseed_image_end:
	.section .note.GNU-stack, "", @progbits
