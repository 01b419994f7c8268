from typing import Any

from accounts import tabs


def settings_tabs(request: Any) -> dict[str, Any]:
    return {"settings_tabs": tabs.all_tabs()}
