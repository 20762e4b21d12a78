"""The paper's claims, each decided by the protocol in ``evidence/claims.md``."""
