"""A DEPLOYMENT ON ONE MACHINE: a copy of the tables to ask and to repair, and the way back."""
