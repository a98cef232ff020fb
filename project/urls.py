"""HTTP paths."""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path
from django.utils.functional import lazy
from django.views.generic import RedirectView

from realtime.api.schema import DocsView, SchemaView

admin.site.site_header = admin.site.site_title = "Real-time server"
admin.site.index_title = "Administration"

# Pages that name no icon of their own, such as the admin's, are asked about this one.
favicon = RedirectView.as_view(url=lazy(static, str)("demo/icon.svg"))

handler400 = "realtime.api.errors.answer_bad_request"
handler404 = "realtime.api.errors.answer_not_found"
handler500 = "realtime.api.errors.answer_server_error"

urlpatterns = [
    path("favicon.ico", favicon),
    path("admin/", admin.site.urls),
    path("api/schema/", SchemaView.as_view(), name="schema"),
    path("api/docs/", DocsView.as_view(), name="docs"),
    path("api/", include("accounts.urls")),
    path("api/browser/", include("accounts.browser.urls")),
    path("", include("realtime.urls")),
    path("", include("demo.urls")),
]
