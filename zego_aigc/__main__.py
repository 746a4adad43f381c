"""``python -m zego_aigc`` is the command ``zego-aigc``."""

from __future__ import annotations

import sys

from zego_aigc.cli import main

if __name__ == "__main__":
    sys.exit(main())
