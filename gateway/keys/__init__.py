"""The gateway's own message keys: which may sign, who has been told of them, and what each still owes."""
