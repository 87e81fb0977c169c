//! The verbs of endpoints.

use super::{BatchError, Batches, EndpointSpec, Outcome};

impl Batches {
    /// Adds or changes an endpoint.
    ///
    /// # Errors
    /// [`BatchError::Unfit`] names the field.
    pub async fn endpoint_add(&self, spec: EndpointSpec) -> Result<Outcome, BatchError> {
        let endpoint = spec.endpoint()?;
        let _turn = self.desk.turn.lock().await;
        if self.desk.ledger.endpoint(&endpoint.name)?.as_ref() == Some(&endpoint) {
            return Ok(Outcome::Already);
        }
        let mut change = self.desk.ledger.change();
        change.put_endpoint(endpoint);
        change.commit().await?;
        Ok(Outcome::Done)
    }

    /// Every endpoint, by name.
    ///
    /// # Errors
    /// [`BatchError::Read`].
    pub fn endpoints(&self) -> Result<Vec<EndpointSpec>, BatchError> {
        Ok(self.desk.ledger.endpoints()?.into_iter().map(EndpointSpec::from).collect())
    }

    /// One endpoint.
    ///
    /// # Errors
    /// [`BatchError::NoEndpoint`].
    pub fn endpoint(&self, name: &str) -> Result<EndpointSpec, BatchError> {
        self.desk.endpoint(name).map(EndpointSpec::from)
    }

    /// Removes an endpoint that no batch uses.
    ///
    /// # Errors
    /// [`BatchError::EndpointInUse`].
    pub async fn endpoint_remove(&self, name: &str) -> Result<Outcome, BatchError> {
        let _turn = self.desk.turn.lock().await;
        if self.desk.ledger.endpoint(name)?.is_none() {
            return Ok(Outcome::Already);
        }
        if let Some(batch) = self.desk.ledger.batches()?.into_iter().find(|batch| batch.endpoint == name) {
            return Err(BatchError::EndpointInUse { endpoint: name.to_owned(), batch: batch.name });
        }
        let mut change = self.desk.ledger.change();
        change.remove_endpoint(name);
        change.commit().await?;
        Ok(Outcome::Done)
    }
}
