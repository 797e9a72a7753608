/* codehash - the hash of code of which some bytes are filled in later.
 *
 *     e8 00 00 00 00   call ?      the compiler's          mask {1, 4}:  both are hashed as  e8 00 00 00 00
 *     e8 3b f0 12 00   call f      in the process
 *
 * SHA-256 (FIPS 180-4), because it is well known, not because anybody would want to cheat here.
 */
#ifndef HP_ELF_CODEHASH_H
#define HP_ELF_CODEHASH_H

#include <stddef.h>
#include <stdint.h>

#define HP_HASH_SIZE 32

/* Bytes of code that are taken as 0. */
struct hp_mask {
	uint32_t offset, length;
};

/* masks ascend, do not overlap and lie inside of size. */
void hp_code_hash(const uint8_t *code, size_t size, const struct hp_mask *masks, size_t n_masks,
                  uint8_t ret_hash[HP_HASH_SIZE]);

#endif
