"""What an Action says: its fields, their bounds and rules, its lifetime, and how it is written and read. Pure."""
