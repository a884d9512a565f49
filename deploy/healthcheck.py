"""Exit status 0 when the web server of this container answers."""

import os
import sys
import urllib.error
import urllib.request

try:
    with urllib.request.urlopen(f"http://127.0.0.1:{os.environ.get('CAS_PORT', '8000')}/livez", timeout=4):
        pass
except (OSError, urllib.error.URLError) as error:
    sys.exit(f"/livez: {error}")
