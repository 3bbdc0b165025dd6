/*
 * list.h - doubly linked circular list with its node inside the element. Not for sharing between CPUs without
 * a lock. An element off any list has a node that list_init() made.
 */
#pragma once
#include "arch/types.h"

struct list_node {
    struct list_node *next, *prev;
};

static inline void list_init(struct list_node *n)
{
    n->next = n->prev = n;
}
static inline bool list_empty(const struct list_node *head)
{
    return head->next == head;
}
static inline void list_insert_after(struct list_node *where, struct list_node *n)
{
    n->next = where->next;
    n->prev = where;
    where->next->prev = n;
    where->next = n;
}
static inline void list_push_front(struct list_node *head, struct list_node *n)
{
    list_insert_after(head, n);
}
static inline void list_push_back(struct list_node *head, struct list_node *n)
{
    list_insert_after(head->prev, n);
}
static inline void list_remove(struct list_node *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    list_init(n);
}

/* Loops over nodes; `n` may be removed from the list inside the loop. */
#define list_for_each(n, head)                                                 \
    for (struct list_node *n = (head)->next, *n##_next = n->next; n != (head); \
         n = n##_next, n##_next = n->next)
