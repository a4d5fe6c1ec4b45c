"""The PPIO platform without its network: addresses, answers, labels, and how agents are started there."""
