# ipc/receive.c: the receiver looks who waits before it makes room.
/^    ipc_tell_room(ipc, vm, IPC_WANTS_ROOM);/d
s|^    if (!msg_queue_take(me->queue, to))|    ipc_tell_room(ipc, vm, IPC_WANTS_ROOM);\n    if (!msg_queue_take(me->queue, to))|
