#include "elf/codehash.h"

#include <string.h>

enum { BLOCK = 64 };

struct hash {
	uint32_t state[8];
	uint64_t size; /* bytes taken */
	uint8_t block[BLOCK];
};

static const uint32_t start[8] = {
	0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

/* FIPS 180-4, 4.2.2 */
static const uint32_t constants[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t x, unsigned n)
{
	return x >> n | x << (32 - n);
}

static void fill_schedule(const uint8_t *block, uint32_t w[64])
{
	for (size_t i = 0; i < 16; i++)
		w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
		       (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
	for (size_t i = 16; i < 64; i++) {
		uint32_t s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
		uint32_t s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
		w[i] = w[i - 16] + s0 + w[i - 7] + s1;
	}
}

/* FIPS 180-4, 6.2.2, step 3: a round gives two of the eight new values; the others move on by one place, which is what
 * each round is called with. */
static inline void turn(uint32_t a, uint32_t b, uint32_t c, uint32_t *d, uint32_t e, uint32_t f, uint32_t g,
                        uint32_t *h, uint32_t word)
{
	uint32_t sum1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
	uint32_t sum0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
	uint32_t t1 = *h + sum1 + ((e & f) ^ (~e & g)) + word;

	*d += t1;
	*h = t1 + sum0 + ((a & b) ^ (a & c) ^ (b & c));
}

/* FIPS 180-4, 6.2.2 */
static void take_block(struct hash *hash)
{
	uint32_t *s = hash->state, w[64];
	uint32_t a = s[0], b = s[1], c = s[2], d = s[3], e = s[4], f = s[5], g = s[6], h = s[7];

	fill_schedule(hash->block, w);
	for (size_t i = 0; i < 64; i += 8) {
		const uint32_t *k = constants + i, *x = w + i;
		turn(a, b, c, &d, e, f, g, &h, k[0] + x[0]);
		turn(h, a, b, &c, d, e, f, &g, k[1] + x[1]);
		turn(g, h, a, &b, c, d, e, &f, k[2] + x[2]);
		turn(f, g, h, &a, b, c, d, &e, k[3] + x[3]);
		turn(e, f, g, &h, a, b, c, &d, k[4] + x[4]);
		turn(d, e, f, &g, h, a, b, &c, k[5] + x[5]);
		turn(c, d, e, &f, g, h, a, &b, k[6] + x[6]);
		turn(b, c, d, &e, f, g, h, &a, k[7] + x[7]);
	}
	const uint32_t gained[8] = {a, b, c, d, e, f, g, h};
	for (size_t i = 0; i < 8; i++)
		s[i] += gained[i];
}

/* NULL bytes are zeroes. */
static void take(struct hash *hash, const uint8_t *bytes, size_t size)
{
	while (size) {
		size_t at = hash->size % BLOCK, n = BLOCK - at < size ? BLOCK - at : size;
		if (bytes) {
			memcpy(hash->block + at, bytes, n);
			bytes += n;
		} else {
			memset(hash->block + at, 0, n);
		}
		hash->size += n;
		size -= n;
		if (hash->size % BLOCK == 0)
			take_block(hash);
	}
}

static void finish(struct hash *hash, uint8_t ret[HP_HASH_SIZE])
{
	uint64_t bits = hash->size * 8;
	uint8_t length[8];

	for (size_t i = 0; i < 8; i++)
		length[i] = (uint8_t)(bits >> (56 - 8 * i));
	take(hash, (const uint8_t[]){0x80}, 1);
	take(hash, NULL, (BLOCK + 56 - hash->size % BLOCK) % BLOCK);
	take(hash, length, sizeof(length));
	for (size_t i = 0; i < HP_HASH_SIZE; i++)
		ret[i] = (uint8_t)(hash->state[i / 4] >> (24 - 8 * (i % 4)));
}

void hp_code_hash(const uint8_t *code, size_t size, const struct hp_mask *masks, size_t n_masks,
                  uint8_t ret_hash[HP_HASH_SIZE])
{
	struct hash hash = {0};
	size_t at = 0;

	memcpy(hash.state, start, sizeof(start));
	for (size_t i = 0; i < n_masks; i++) {
		take(&hash, code + at, masks[i].offset - at);
		take(&hash, NULL, masks[i].length);
		at = masks[i].offset + masks[i].length;
	}
	take(&hash, code + at, size - at);
	finish(&hash, ret_hash);
}
