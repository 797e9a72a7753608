/* fish.h - what fish.c has for main.c. */
void swim(void), draw(void);
