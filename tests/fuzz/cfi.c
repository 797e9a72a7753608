/* cfi - bytes of .eh_frame or .eh_frame_hdr, and a frame unwound by what they say.
 *
 *     scripts/fuzz cfi 600
 *
 * The first byte chooses: an index of .eh_frame, or a header before it, its size in the second byte. What is looked for
 * is an address near the tables, since those that compilers write are relative.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cfi.h"

static bool read_word(uintptr_t address, uintptr_t *ret_word, void *arg)
{
	(void)arg;
	*ret_word = address * 3;
	return address % 5 != 0;
}

static void step(const struct hp_cfi *cfi, const struct hp_fde *fde, uintptr_t pc, bool is_exact)
{
	struct hp_regs regs = {.known = ~UINT64_C(0), .exact_ip = is_exact};

	for (unsigned i = 0; i < HP_REG_COUNT; i++)
		regs.value[i] = 0x1000 * (i + 1);
	regs.value[HP_REG_IP] = pc;
	hp_cfi_return_stored(fde, pc);
	if (hp_cfi_step(cfi, fde, &regs, read_word, NULL) == HP_CFI_STEPPED && !(regs.known >> HP_REG_IP & 1))
		abort();
}

static void look(const struct hp_cfi *cfi, uintptr_t pc)
{
	struct hp_fde fde;

	if (!hp_cfi_find(cfi, pc, &fde))
		return;
	if (pc < fde.begin || pc >= fde.end)
		abort();
	step(cfi, &fde, pc, true);
	step(cfi, &fde, fde.begin, true);
	step(cfi, &fde, fde.end, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	if (size < 2)
		return 0;
	size_t n = size - 2, header = bytes[0] % 2 ? bytes[1] : 0;
	uint8_t *copy = malloc(n + 1); /* the first byte behind the tables is none of theirs */
	memcpy(copy, bytes + 2, n);
	header = header < n ? header : n;
	struct hp_cfi cfi = {.low = copy + header, .high = copy + n};
	if (header) {
		cfi.header = copy;
		cfi.header_end = copy + header;
	} else if (!hp_cfi_index(&cfi, copy, copy + n)) {
		free(copy);
		return 0;
	}
	for (size_t i = 0; i < cfi.n_index; i++) {
		look(&cfi, cfi.index[i].begin);
		look(&cfi, cfi.index[i].begin + 5);
	}
	for (size_t i = 0; header && i < n; i += 4)
		look(&cfi, (uintptr_t)copy + i);
	look(&cfi, 1);
	free(cfi.index);
	free(copy);
	return 0;
}
