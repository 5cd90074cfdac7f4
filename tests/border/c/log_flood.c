/* Writes more to the guest kernel's log than anybody reads. Output (standard output): `answered`. */
#include "border.h"

#define LINES 200
#define LINE 4000

int main(void)
{
	for (int i = 0; i < LINES; i++) {
		memset(DATA, 'x', LINE);
		call(QC_LOG, LINE, 0, QK_LOG_ERROR, 0, 0);
	}
	printf("answered\n");
	return 0;
}
