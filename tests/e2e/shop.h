/* shop - a program that is asked by lines of text, and whose every function is to be patched: tests/apply.bats. */
#ifndef SHOP_H
#define SHOP_H

extern int shop_global;
extern __thread int shop_depth;

int shop_statics(int n);
int shop_text(int n);
int shop_choose(int n);
int shop_ops(int n);
int shop_threads(int n);
int shop_wait(int n);
int shop_many(int n);
int a_util(int n);
int b_util(int n);
int lib_rate(int n);
int lib_calls(int n);
extern const char *shop_said;

#endif
