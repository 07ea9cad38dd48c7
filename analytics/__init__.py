"""The cold side: mirror, proof, ledger, ownership, retention."""
