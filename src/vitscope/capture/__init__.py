"""One interceptor for attention, its gradients, and the proofs a capture owes."""
