"""The capacity model: from measured unit costs to the processes, cores and bytes of a size."""
