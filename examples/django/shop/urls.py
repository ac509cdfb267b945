from django.conf import settings
from django.http import JsonResponse
from django.urls import path
from django.views.decorators.http import require_POST

from shop.models import Order


def health(_request):
    return JsonResponse({"version": settings.VERSION, "orders": Order.objects.count()})


@require_POST
def order(request):
    made = Order.objects.create(text=request.body.decode()[:200])
    return JsonResponse({"id": made.id}, status=201)


urlpatterns = [path("health", health), path("api/orders", order)]
