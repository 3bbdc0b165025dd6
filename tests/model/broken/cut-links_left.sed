# mm/revoke.c: only forwarded entries are revoked, not the links to them
s/upper && !(e & ENTRY_REVOKED)/upper \&\& e == ENTRY_FORWARDED/
