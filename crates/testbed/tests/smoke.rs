//! x
use llm_autoscaler_testbed::ControlPlane;
#[tokio::test]
async fn starts() {
    let t = std::time::Instant::now();
    let plane = ControlPlane::start(Default::default()).await.unwrap();
    eprintln!("up after {:?}", t.elapsed());
    eprintln!("{}", plane.kubectl(["get", "sa,ns", "-A"]).await.unwrap());
    let k = plane.service_account_kubeconfig("default", "default").await.unwrap();
    let c = llm_autoscaler_testbed::controlplane::client(&k).await.unwrap();
    eprintln!("{:?}", c.apiserver_version().await);
    eprintln!(
        "{:?}",
        kube::Api::<k8s_openapi::api::core::v1::Pod>::default_namespaced(c)
            .list(&Default::default())
            .await
            .map(|_| ())
    );
    let d = plane.dir().to_owned();
    drop(plane);
    eprintln!("down after {:?} {}", t.elapsed(), d.exists());
}
