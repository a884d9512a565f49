from django.urls import path, re_path

from artifacts import tus, views

urlpatterns = [
    re_path(r"^artifacts/?$", views.CollectionView.as_view()),
    path("artifacts/<str:digest>", views.ArtifactView.as_view()),
    path("artifacts/<str:digest>/describe", views.DescribeView.as_view()),
    re_path(r"^uploads/?$", tus.CreationView.as_view()),
    path("uploads/<str:upload_id>", tus.UploadView.as_view()),
    path("download/<str:digest>", views.DownloadView.as_view()),
]
