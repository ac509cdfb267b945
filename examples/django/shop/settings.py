import os

VERSION = "1.0"

SECRET_KEY = os.environ.get("SECRET_KEY", "only for the example")
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "shop.urls"
INSTALLED_APPS = ["shop"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        # The rehearsal names a copy by it.
        "NAME": os.environ.get("DATABASE_URL", "sqlite:///db.sqlite3").removeprefix("sqlite:///"),
        "OPTIONS": {"init_command": "PRAGMA journal_mode=WAL"},
    }
}
