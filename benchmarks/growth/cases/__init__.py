"""The families of cases: each one starts what it needs, measures each row in a process of its own, and answers its results."""
