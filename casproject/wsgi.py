"""The WSGI application, served by granian (see Procfile)."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "casproject.settings")

application = get_wsgi_application()

from audit import nudge  # noqa: E402  (needs the apps loaded)
from casproject.startup import refuse_wrong_settings  # noqa: E402  (needs the apps loaded)

refuse_wrong_settings()
nudge.wake()  # for what an earlier process left in the journal
