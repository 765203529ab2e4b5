/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the thread sanitizer cannot see by itself in a laboratory: DPDK's libraries are not instrumented, so a
 * buffer that changes hands inside of them (the pool's ring, the ring port's driver) seems to come
 * without a barrier. Here the pool gets operations of our own, compiled with it, and the ends of the ring port
 * say what they hand over. Without the sanitizer all of this is nothing.
 */
#ifndef PIPELINE_SANITIZER_H
#define PIPELINE_SANITIZER_H

struct dp;

/** After EAL, before the pool: pools use our operations from now on. */
void lab_sanitizer_init(void);
/** The workers' ends of the ports. */
void lab_sanitizer_watch(struct dp *dp);
/**
 * One thread hands @object on by a way that the sanitizer does not see, another has it from there: a frame on a
 * port, a worker that has ended.
 */
void lab_sanitizer_give(void *object);
void lab_sanitizer_take(void *object);

#endif
