//! Plugins of the test: each has a say in the answers of the names that it says it touches.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use hickory_proto::{op::ResponseCode, rr::Name};
use hopzero::plugin::{Next, Outcome, Plugin, Reply, Request, Served, Touch};
use regex::Regex;

/// What it does.
#[derive(Clone, Copy, Debug)]
pub enum How {
    /// It answers by itself.
    Refuse,
    /// It changes the header of the reply.
    Change,
    /// It asks for another name.
    Rewrite,
}

/// It touches what it says, and all of it.
pub struct Meddler {
    pub touch: Touch,
    pub how: How,
}

#[async_trait]
impl Plugin for Meddler {
    fn name(&self) -> &'static str {
        "meddler"
    }

    async fn serve(&self, request: &mut Request, next: Next<'_>) -> Outcome {
        let name = request.lower_name();
        let is_touched = match &self.touch {
            Touch::Everything => true,
            Touch::Name(touched) => *touched == name,
            Touch::Below(touched) => touched.zone_of(&name),
            Touch::Absent(touched) | Touch::Present(touched) => {
                let outcome = next.run(request).await;
                let is_absent = matches!(&outcome, Ok(Served::Reply(reply)) if reply.rcode == ResponseCode::NXDomain);
                let wants_absent = matches!(self.touch, Touch::Absent(_));
                return if is_absent == wants_absent && touched.zone_of(&name) {
                    Ok(Reply::bare(ResponseCode::Refused).into())
                } else {
                    outcome
                };
            }
            Touch::Matching(expression) => {
                let regex = Regex::new(expression).expect("an expression of this test");
                regex.is_match(&name.to_ascii())
            }
        };
        match self.how {
            _ if !is_touched => next.run(request).await,
            How::Refuse => Ok(Reply::bare(ResponseCode::Refused).into()),
            How::Change => {
                let mut outcome = next.run(request).await;
                if let Ok(Served::Reply(reply)) = &mut outcome {
                    reply.flags.authentic_data = true;
                }
                outcome
            }
            How::Rewrite => {
                request.name = Name::from_ascii("rewritten.example.").expect("a name");
                next.run(request).await
            }
        }
    }

    fn touches(&self) -> Vec<Touch> {
        vec![self.touch.clone()]
    }
}

/// In the place of `loadbalance`; notes that the reply went through it.
pub struct Rotates(pub Arc<AtomicBool>);

#[async_trait]
impl Plugin for Rotates {
    fn name(&self) -> &'static str {
        "rotates"
    }

    async fn serve(&self, request: &mut Request, next: Next<'_>) -> Outcome {
        self.0.store(true, Ordering::Relaxed);
        next.run(request).await
    }

    fn touches(&self) -> Vec<Touch> {
        Vec::new()
    }

    fn rotates(&self) -> bool {
        true
    }
}

/// In the place of an upstream: it answers whatever comes to it, as the kernel never does.
pub struct Upstream;

#[async_trait]
impl Plugin for Upstream {
    fn name(&self) -> &'static str {
        "upstream"
    }

    async fn serve(&self, _request: &mut Request, _next: Next<'_>) -> Outcome {
        Ok(Reply::bare(ResponseCode::NotImp).into())
    }

    fn touches(&self) -> Vec<Touch> {
        // Nobody stands behind it.
        vec![Touch::Everything]
    }
}
