from django.views.generic import TemplateView


class HomeView(TemplateView):
    """The page. It is open to all: who may read what is decided by each socket it opens."""

    template_name = "demo/home.html"
