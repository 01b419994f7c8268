"""Static files: with a digest in each name once `collectstatic` has run, plain before (development, tests)."""

from django.conf import settings
from whitenoise.storage import CompressedManifestStaticFilesStorage


class StaticFiles(CompressedManifestStaticFilesStorage):
    manifest_strict = False

    def stored_name(self, name: str) -> str:
        if not self.hashed_files and not settings.STATIC_ROOT.joinpath(self.manifest_name).exists():
            return name
        return super().stored_name(name)
