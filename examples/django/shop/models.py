from django.db import models


class Order(models.Model):
    text = models.CharField(max_length=200)
