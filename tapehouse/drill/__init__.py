"""The fault runner: breaks a platform of its own under load, and proves that nothing is lost or doubled."""
