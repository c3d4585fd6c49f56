"""The museum of defects: faults that were public in other people's code, each as a minimal case with the thread it was told in.

One file for each theme; ``registry`` says what an exhibit is, ``run`` looks at all of them. An exhibit is written anew from what its thread
says: no code of others is kept here.
"""
