# ipc/send.c: the refused sender asks for word of room and does not look again.
s|^        asked\[want\] = true;|        asked[want] = true;\n        atomic_fetch_or_explicit(\&ipc->vm[m->receiver]->wants[want], own, memory_order_seq_cst);\n        break;|
