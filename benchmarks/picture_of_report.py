"""Render a report.html to PNG with Debian's chromium, without network: python benchmarks/picture_of_report.py PAGE PNG.

Options after the two paths: --width, --height in CSS pixels, --dark, --scale.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def picture(page: Path, png: Path, *, width: int, height: int, dark: bool, scale: float) -> None:
    browser = shutil.which("chromium")
    if browser is None:
        sys.exit("chromium is not installed: apt-get install -y chromium")
    if not page.is_file():
        sys.exit(f"there is no page {page}")
    with tempfile.TemporaryDirectory() as profile:
        command = [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={profile}",
            "--hide-scrollbars",
            "--virtual-time-budget=8000",
            f"--force-device-scale-factor={scale}",
            f"--window-size={width},{height}",
            *(["--blink-settings=preferredColorScheme=0"] if dark else []),
            f"--screenshot={png.resolve()}",
            page.resolve().as_uri(),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    if done.returncode != 0 or not png.exists():
        sys.exit(f"chromium made no picture:\n{done.stderr}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("png", type=Path)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=2200)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--dark", action="store_true")
    arguments = parser.parse_args()
    picture(
        arguments.page,
        arguments.png,
        width=arguments.width,
        height=arguments.height,
        dark=arguments.dark,
        scale=arguments.scale,
    )


if __name__ == "__main__":
    main()
