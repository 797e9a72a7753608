/* mix - hashes of 64 bits, of texts that are compared with nothing but what they were a moment ago. */
#ifndef HP_WATCH_MIX_H
#define HP_WATCH_MIX_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HP_MIX_BEGIN UINT64_C(0xcbf29ce484222325)

/* Whatever bit differs, about half of all do behind it. */
static inline uint64_t hp_mix(uint64_t hash, uint64_t word)
{
	hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
	return hash ^ hash >> 32;
}

/* Where they end counts, too: "ab", "c" and "a", "bc" differ. */
static inline uint64_t hp_mix_bytes(uint64_t hash, const char *bytes, size_t n)
{
	uint64_t word;
	size_t i = 0;

	for (; n - i >= sizeof(word); i += sizeof(word)) {
		memcpy(&word, bytes + i, sizeof(word));
		hash = hp_mix(hash, word);
	}
	for (word = n; i < n; i++)
		word = word << 8 | (unsigned char)bytes[i];
	return hp_mix(hash, word);
}

#endif
