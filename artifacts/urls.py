from django.urls import path, re_path

from artifacts import views

urlpatterns = [
    re_path(r"^artifacts/?$", views.CollectionView.as_view()),
    path("artifacts/<str:digest>", views.ArtifactView.as_view()),
    path("artifacts/<str:digest>/describe", views.DescribeView.as_view()),
    path("download/<str:digest>", views.DownloadView.as_view()),
]
