"""`python -m deploy.health [port]`: exit 0 when a service's internal port says that it is ready; what containers ask."""

import sys
import urllib.error
import urllib.request

PORT = "9000"
SECONDS = 4


def main() -> int:
    port = (sys.argv[1:] or [PORT])[0]
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=SECONDS) as answer:
            return 0 if answer.status == 200 else 1
    except (urllib.error.URLError, TimeoutError) as error:
        sys.stderr.write(f"not ready: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
