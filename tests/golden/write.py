"""Write the kept pictures anew, after looking at them: ``PYTHONPATH=tests python tests/golden/write.py``."""

import importlib.util
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent


def main() -> None:
    source = HERE.parent / "unit" / "test_views_paint.py"
    spec = importlib.util.spec_from_file_location("test_views_paint", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, rgba in module.pictures().items():
        Image.fromarray(rgba).save(HERE / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
