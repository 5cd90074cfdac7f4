/* A block of a vCPU that the host has not agreed to. A request there is none; the guest then makes page tables for the block and finds no memory behind.
 * Output: `alone N`, the number of vCPUs, and nothing after it. */
#include "border.h"

#define OTHER QK_OFF_VCPU(1)
#define ENTRY 0x27ull /* present, writable, user, accessed */
#define TABLE(entry) ((volatile uint64_t *)(QK_DIRECT_BASE + ((entry) & 0xffffffffff000ull)))

/* The page table that has the blocks, found from the guest's own tables. */
static volatile uint64_t *page_table(uint64_t address)
{
	volatile uint64_t *t = TABLE(QK_GPA_PML4);
	for (int level = 3; level > 0; level--)
		t = TABLE(t[address >> (12 + 9 * level) & 511]);
	return t;
}

int main(void)
{
	uint64_t at = QK_COMM_BASE + OTHER;
	volatile struct qk_vcpu *other = (volatile struct qk_vcpu *)at;
	page_table(at)[at >> 12 & 511] = (QK_COMM_GPA + OTHER) | ENTRY;
	printf("alone %u\n", COMM->nvcpus);
	fflush(stdout);
	COMM->nvcpus = 2; /* the host knows better */
	other->call.op = QC_CLOCK;
	__atomic_store_n((uint32_t *)&other->call.state, QK_CALL_SUBMITTED, __ATOMIC_SEQ_CST);
	out32(QK_PORT_CALL, 0);
	printf("state %u\n", other->call.state);
	return 0;
}
