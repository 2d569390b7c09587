"""Ships a ledger to the warehouse, next to the router that writes it.

For each segment, in this order: the bytes that will be shipped are made durable on the ledger's own
disk; their events go to one Parquet file for each day of admission, created under the name of their
range, so that shipping again changes nothing; the segment's progress moves forward by
compare-and-swap. A crash between two steps repeats the second: the same names, or a longer range
whose first rows are duplicates by request id. The ledger itself is only read.
"""
