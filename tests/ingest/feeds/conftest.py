from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def market_data() -> Path:
    """The folder of real market data, which stands beside the checkout."""
    for folder in Path(__file__).resolve().parents:
        data = folder / "shared" / "data"
        if (data / "README.md").is_file():
            return data
    pytest.skip("needs real market data in ../shared/data")
