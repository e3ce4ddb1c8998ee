"""What runs inside of the stack: it looks at the cluster, proves that it works, and brings it new code."""
