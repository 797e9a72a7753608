/* shadow - memory beside objects that cannot grow (hotpatch_shadow_attach). What fork needs of it. */
#ifndef HP_LIVE_SHADOW_H
#define HP_LIVE_SHADOW_H

/* Innermost of all locks. A child of fork releases them like its parent. */
void hp_shadows_lock(void);
void hp_shadows_unlock(void);

#endif
