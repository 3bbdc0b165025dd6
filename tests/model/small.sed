# The same code with the smallest sizes at which everything can happen.
s/^#define CHANNEL_ENTRIES .*/#define CHANNEL_ENTRIES 4u/
s/^#define CHANNEL_SELF_ENTRIES .*/#define CHANNEL_SELF_ENTRIES 4u/
s/^#define MATRIX_PIECE .*/#define MATRIX_PIECE 448ull/
s/^#define MSG_QUEUE_DEPTH .*/#define MSG_QUEUE_DEPTH 2u/
s/^#define MSG_QUEUE_STAGED .*/#define MSG_QUEUE_STAGED 1u/
s/^#define LANDING_SLOTS .*/#define LANDING_SLOTS 2u/
s/^#define IPC_VMS_MAX .*/#define IPC_VMS_MAX 2u/
/^_Static_assert/d
s/REVOKE_WAYS     8u/REVOKE_WAYS     1u/
